select projection, generation, version, digest, digest_position from serving;
