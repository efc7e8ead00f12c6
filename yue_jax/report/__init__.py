"""Reports as pages: one HTML file that loads nothing.

html_page  the frame of a page, tables, bars (of data sets as well)
curves     curves of several runs, that a keyboard can read
png        codes as a picture
runs       what a run directory holds
songs      what a folder of a song holds
page       all of it together, for tools/report.py
"""
