"""How fast scenes and stills are drawn on one core: CPU time, encoding apart.

    OMP_NUM_THREADS=1 python benchmarks/scenes_speed.py [--scenes 4] [--stills 200] [--json]

CPU seconds (``time.process_time``) are counted, so that other work on the machine distorts less.
"""

from __future__ import annotations

import argparse
import json
import time

import cv2

from oddwatch.datasets.scenes import Scene, person_still, twin_pair


def main() -> None:
    """Print frames, people and stills per CPU second."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--frames", type=int, default=50, help="per scene, evenly over its 20 s")
    parser.add_argument("--stills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    frames = people = 0
    setup = drawing = 0.0
    for index in range(args.scenes):
        start = time.process_time()
        scene = Scene(args.seed, index)
        scene.draw(0.0)
        setup += time.process_time() - start
        start = time.process_time()
        for _, notes in scene.frames(every=max(1, 500 // args.frames)):
            frames += 1
            people += len(notes["people"])
        drawing += time.process_time() - start
    person_still(args.seed, 0)
    start, tall = time.process_time(), 0.0
    for index in range(args.stills):
        still = person_still(args.seed, index)
        tall += still.box[3] - still.box[1]
    alone = time.process_time() - start
    start = time.process_time()
    for index in range(args.stills // 4):
        twin_pair(args.seed, index)
    twins = time.process_time() - start
    row = {
        "seed": args.seed,
        "frames_per_s": round(frames / drawing, 1),
        "people_per_frame": round(people / frames, 2),
        "ms_per_frame": round(1000 * drawing / frames, 1),
        "scene_setup_ms": round(1000 * setup / args.scenes, 1),
        "stills_per_s": round(args.stills / alone, 1),
        "mean_box_height_px": round(tall / args.stills, 1),
        "twin_stills_per_s": round(2 * (args.stills // 4) / twins, 1),
    }
    print(json.dumps({"rows": [row]}) if args.json else "\n".join(f"{k:20} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
