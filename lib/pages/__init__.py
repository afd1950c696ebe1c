"""What is shown: figures, tables, sliders, pages."""
