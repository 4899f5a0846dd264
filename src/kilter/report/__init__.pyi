from kilter.report.comparison import write_comparison as write_comparison
from kilter.report.page import write_report as write_report
from kilter.report.treatment import write_treatment as write_treatment
