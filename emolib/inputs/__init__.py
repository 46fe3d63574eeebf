"""What a study is asked about: heads, units, prompts, words, emotions and profiles."""
