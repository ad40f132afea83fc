copy verifications_{generation} (position, credential) from stdin with (format binary)
