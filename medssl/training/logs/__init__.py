"""What a run shows of itself: figures, pictures of the puzzles, a progress bar, TensorBoard, MLflow."""
