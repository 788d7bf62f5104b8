"""Results as files and text: the known result folder, JSON, CSV, SRT, Audacity labels and Praat TextGrid."""

from emotape.delivery.export.document import details, document, failure, result
from emotape.delivery.export.folder import Contents, write_folder
from emotape.delivery.export.segments import EXPORTERS, audacity_labels, segments_csv, srt, textgrid
from emotape.delivery.export.tables import frames_csv, json_line, results_csv_header, results_csv_row

__all__ = [
    "EXPORTERS",
    "Contents",
    "audacity_labels",
    "details",
    "document",
    "failure",
    "frames_csv",
    "json_line",
    "result",
    "results_csv_header",
    "results_csv_row",
    "segments_csv",
    "srt",
    "textgrid",
    "write_folder",
]
