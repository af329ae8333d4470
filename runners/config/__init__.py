"""Configs: YAML files, schemas, and what an entry of them means."""
