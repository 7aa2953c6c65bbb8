"""What nodes told of apps' ways out, what follows from it, and what customers are told: rows, words and mail."""
