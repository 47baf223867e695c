"""Faithfulness: does the heatmap rank what the model uses?"""
