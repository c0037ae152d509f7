"""A user study of finished videos: the paper's five questions (section IV-C), asked blindly.

``make_study`` writes a page that participants open in any browser, from a disk or a web server;
``score_study`` turns the files they send back into means, confidence intervals and Cronbach's
alpha. No server takes part, and the page never says which method made a clip.
"""

from synctalk.study.make import make_study
from synctalk.study.plan import ASPECTS, Study
from synctalk.study.score import StudyScores, score_study

__all__ = ["ASPECTS", "Study", "StudyScores", "make_study", "score_study"]
