"""What is shown: figures, tables, sliders, pages."""

SUMMARIES = {  # notebooks that only read results/: name -> what its page is, for the index
    "comparison": "All methods side by side",
    "claims": "Every claim with its verdict",
    "explorer": "Faces to edit: all methods on sliders",
}
