"""Reviewing predictions against the truth, without Qt: queue, judgements, readers, corrected truth."""
