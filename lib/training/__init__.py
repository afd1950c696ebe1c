"""How models are trained, kept and found again, and what an evaluation leaves."""
