"""The staff's page of a station, served to the browser on the same machine.

A thin skin: cards are worked on by `bench`, by the same functions as the commands; who may do what the
central server says, each time.
"""
