"""From files to batches: headers, cases, layouts, prepared cohorts, splits, missing-rate tables, augmentation."""
