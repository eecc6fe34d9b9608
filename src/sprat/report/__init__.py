"""``report.html``: one self-contained file that tells what was found and shows the proof."""
