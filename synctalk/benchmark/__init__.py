"""Every number of the paper from one command: protocols x subjects x methods x seeds, one page.

plan      what to run, as a TOML file says it
switches  the parts of the method that can be left out, by name
cells     the measurements that a plan asks for, and what each rests on
workshop  datasets and avatars, each made once
actors    what each method shows of a scene; measure scores it
report    page, JSON and CSV
"""

from synctalk.benchmark.plan import Plan, load_plan, plan_of
from synctalk.benchmark.run import BenchReport, bench

__all__ = ["BenchReport", "Plan", "bench", "load_plan", "plan_of"]
