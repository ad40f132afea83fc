create schema read;
