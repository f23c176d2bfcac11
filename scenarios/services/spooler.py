"""A print spooler: nothing is printed twice or lost, whenever its node dies. Usage, as all three commands: spooler.py

    /shared/spool/queue    jobs that wait: a file is here as a whole or not at all (spool_job.py)
    /shared/spool/hand     the job that is being printed
    /shared/spool/done     what was printed
    /shared/spool/paper    the printer: pages of one job between "begin JOB" and "end JOB"

    take:    queue/JOB becomes hand/JOB
    print:   "begin JOB", a line for each page, "end JOB", each on the medium before the next
    finish:  hand/JOB becomes done/JOB

A job in hand whose "end" is on the paper is printed: recovery finishes it. One without is not: what there is of it is
torn off the paper, and the job waits again. The start command does the same, for a power failure of all nodes has no
recovery.
"""

import os
import time

from instance import Alive, Ended, end_on_request, end_what_was_left, leave_behind, stamp, sync_directory

SPOOL = "/shared/spool"
QUEUE, HAND, DONE, PAPER = (f"{SPOOL}/{name}" for name in ("queue", "hand", "done", "paper"))
PAGE_S = 0.05


def prepare():
    for directory in (QUEUE, HAND, DONE):
        os.makedirs(directory, exist_ok=True)
    open(PAPER, "ab").close()
    sync_directory(SPOOL)


def move(job, source, target):
    """For good."""
    os.rename(f"{source}/{job}", f"{target}/{job}")
    sync_directory(target)
    sync_directory(source)


def recover():
    """See to the job that was in hand."""
    for job in sorted(os.listdir(HAND)):
        with open(PAPER, "rb+") as paper:
            text = paper.read()
            begun = text.rfind(f"begin {job}\n".encode())
            if begun >= 0 and f"end {job}\n".encode() in text[begun:]:
                move(job, HAND, DONE)
                continue
            # Also the half of a line that says neither.
            paper.truncate(begun if begun >= 0 else text.rfind(b"\n") + 1)
            os.fsync(paper.fileno())
        move(job, HAND, QUEUE)


def serve(is_ready):
    """Until the stop command ends it; a job in hand waits again then, or is finished."""
    end_on_request()
    alive = Alive()
    try:
        is_ready()
        while True:
            alive.stamp()
            jobs = sorted(os.listdir(QUEUE))
            if not jobs:
                time.sleep(alive.rest() / 4)
                continue
            try:
                print_job(jobs[0], alive)
            except Ended:
                recover()
                raise
    except Ended:
        pass


def print_job(job, alive):
    move(job, QUEUE, HAND)
    with open(f"{HAND}/{job}") as file:
        pages = file.read().splitlines()
    with open(PAPER, "ab", buffering=0) as paper:
        for line in (f"begin {job}", *pages, f"end {job}"):
            paper.write(f"{line}\n".encode())
            os.fsync(paper.fileno())
            time.sleep(PAGE_S)
            alive.stamp()
    move(job, HAND, DONE)


def main():
    prepare()
    action = os.environ["HIL_ACTION"]
    if action == "start":
        stamp("start")
        recover()
        leave_behind(serve)
    elif action == "stop":
        end_what_was_left()
        recover()  # it may have had to be killed
        stamp("end")
    else:
        recover()


if __name__ == "__main__":
    main()
