"""Mix-ins for the bundles: one small YAML file for each choice."""
