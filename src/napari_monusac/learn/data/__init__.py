"""What training sees: crops with their targets, patches, augmentation, batches."""
