"""The magics: their options, their help, and what they do."""
