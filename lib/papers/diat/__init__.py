"""DIAT and DIAT-A: model.py beside the PDF, evaluation.py its figures, tables, protocols and claims."""
