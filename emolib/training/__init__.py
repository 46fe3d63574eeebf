"""How the embedded models came to be: corpus, designs, training, model cards."""
