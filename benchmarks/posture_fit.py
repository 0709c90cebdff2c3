"""Fits the posture network of ``describe/data/posture.npz`` on simulated skeletons; no picture is used.

    python benchmarks/posture_fit.py [--write]

A jointed body (lengths in torsos) takes poses drawn from ranges of joint angles for each posture word, is seen by
a camera from any side, 0–50° above, and its keypoints get noise like a pose model's. Needs torch to fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from oddwatch.describe.body import POSTURES, posture_features

OUT = Path(__file__).parent.parent / "src" / "oddwatch" / "describe" / "data" / "posture.npz"
D = np.pi / 180


def rotation(axis: int, angles: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations about x, y or z by ``angles`` (N,) radians."""
    c, s = np.cos(angles), np.sin(angles)
    out = np.zeros((len(angles), 3, 3))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    out[:, axis, axis] = 1
    out[:, i, i], out[:, j, j], out[:, i, j], out[:, j, i] = c, c, -s, s
    return out


def ranges(word: str, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Joint angles in degrees for ``n`` bodies in a posture: torso pitch, tilt, thighs and knees (left, right), arms."""
    u = lambda lo, hi: rng.uniform(lo, hi, n)  # noqa: E731
    g = lambda m, s: rng.normal(m, s, n)  # noqa: E731
    a: dict[str, np.ndarray] = {
        "pitch": g(4, 5), "tilt": g(0, 2), "spin": u(0, 360), "lt": g(0, 5), "rt": g(0, 5), "lk": np.abs(g(4, 5)),
        "rk": np.abs(g(4, 5)), "lo": g(4, 3), "ro": g(4, 3), "la": g(0, 10), "ra": g(0, 10), "lao": np.abs(g(10, 6)),
        "rao": np.abs(g(10, 6)), "le": np.abs(g(15, 12)), "re": np.abs(g(15, 12)), "head": g(10, 14),
    }  # fmt: skip
    busy = rng.random(n) < 0.4  # arms doing something else: phone, bag, pointing
    if word == "walking":
        phase, size = u(0, 2 * np.pi), u(12, 30)
        a |= {"lt": size * np.sin(phase) + 4, "rt": -size * np.sin(phase) + 4, "pitch": g(5, 5)}
        a |= {
            "lk": 6 + np.maximum(0, np.cos(phase)) * u(25, 65),
            "rk": 6 + np.maximum(0, -np.cos(phase)) * u(25, 65),
        }
        a |= {"la": -size * np.sin(phase), "ra": size * np.sin(phase)}
    elif word == "running":
        phase, size = u(0, 2 * np.pi), u(30, 55)
        a |= {"lt": size * np.sin(phase) + 12, "rt": -size * np.sin(phase) + 12, "pitch": g(13, 7)}
        a |= {
            "lk": 22 + np.maximum(0, np.cos(phase)) * u(55, 105),
            "rk": 22 + np.maximum(0, -np.cos(phase)) * u(55, 105),
        }
        a |= {"la": -size * np.sin(phase), "ra": size * np.sin(phase), "le": g(85, 20), "re": g(85, 20)}
        busy &= rng.random(n) < 0.3
    elif word == "sitting":
        a |= {"lt": u(65, 100), "rt": u(65, 100), "lk": u(50, 115), "rk": u(50, 115), "pitch": g(5, 14)}
        a |= {
            "lo": g(10, 9),
            "ro": g(10, 9),
            "le": u(20, 95),
            "re": u(20, 95),
            "la": u(5, 55),
            "ra": u(5, 55),
        }
    elif word == "crouching":
        one = rng.random(n) < 0.35
        a |= {"lt": u(85, 130), "rt": np.where(one, u(-5, 40), u(85, 130)), "lk": u(105, 150)}
        a |= {"rk": np.where(one, u(80, 130), u(105, 150)), "pitch": u(5, 50), "lo": g(12, 8), "ro": g(12, 8)}
        a |= {"la": u(20, 90), "ra": u(20, 90), "le": u(10, 80), "re": u(10, 80)}
    elif word == "bending":
        a |= {"pitch": u(40, 110), "lt": u(-5, 30), "rt": u(-5, 30), "lk": u(0, 45), "rk": u(0, 45)}
        a |= {"la": u(30, 110), "ra": u(30, 110)}
    elif word in ("lying", "falling"):
        flat = word == "lying"
        a |= {
            "tilt": u(80, 100) if flat else u(30, 68),
            "pitch": u(-5, 35),
            "lt": u(-10, 60),
            "rt": u(-10, 60),
        }
        a |= {
            "lk": u(0, 90),
            "rk": u(0, 90),
            "la": u(-30, 150),
            "ra": u(-30, 150),
            "lao": u(0, 90),
            "rao": u(0, 90),
        }
        a |= {"le": u(0, 100), "re": u(0, 100), "lo": u(0, 20), "ro": u(0, 20)}
        busy &= False
    elif word == "jumping":
        a |= {
            "lt": u(-15, 70),
            "rt": u(-15, 70),
            "lk": u(20, 110),
            "rk": u(20, 110),
            "la": u(-40, 170),
            "ra": u(-40, 170),
        }
        a |= {"lao": u(10, 90), "rao": u(10, 90), "lo": u(0, 25), "ro": u(0, 25), "pitch": g(6, 12)}
        busy &= False
    elif word == "riding":
        half = u(0, 2 * np.pi)
        a |= {"lt": 62 + 25 * np.sin(half), "rt": 62 - 25 * np.sin(half), "lk": 80 + 30 * np.cos(half)}
        a |= {
            "rk": 80 - 30 * np.cos(half),
            "pitch": u(5, 45),
            "la": u(45, 85),
            "ra": u(45, 85),
            "le": u(5, 45),
            "re": u(5, 45),
        }
        busy &= False
    elif word == "climbing":
        a |= {"lt": u(60, 120), "rt": u(-5, 35), "lk": u(60, 120), "rk": u(0, 50), "pitch": u(0, 35)}
        a |= {"la": u(90, 175), "ra": u(60, 175), "le": u(10, 90), "re": u(10, 90)}
        busy &= False
    for side in "lr":
        act = busy & (rng.random(n) < 0.7)
        a[side + "a"] = np.where(act, u(0, 110), a[side + "a"])
        a[side + "e"] = np.where(act, u(20, 130), a[side + "e"])
    return a


def bodies(word: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 17, 3) joints in torsos: x to the body's left, y up, z forward."""
    a = {k: v * D for k, v in ranges(word, rng, n).items() if k != "spin"}
    torso = rotation(0, a["pitch"])
    at = lambda r, v: np.einsum("nij,nj->ni", r, np.broadcast_to(v, (n, 3)))  # noqa: E731
    joints = np.zeros((n, 17, 3))
    neck = at(torso, np.array([0, 1.0, 0]))
    head = torso @ rotation(0, a["head"])
    for i, v in enumerate(
        ([0, 0.35, 0.22], [0.06, 0.42, 0.18], [-0.06, 0.42, 0.18], [0.13, 0.38, 0.04], [-0.13, 0.38, 0.04])
    ):
        joints[:, i] = neck + at(head, np.array(v))
    size = {"thigh": rng.normal(0.84, 0.06, n), "shin": rng.normal(0.84, 0.06, n)}
    for k, (side, sign) in enumerate((("l", 1.0), ("r", -1.0))):
        shoulder = neck + at(torso, np.array([sign * 0.36, -0.03, 0]))
        arm = torso @ rotation(2, sign * a[side + "ao"]) @ rotation(0, -a[side + "a"])
        elbow = shoulder + at(arm, np.array([0, -0.58, 0]))
        wrist = elbow + at(arm @ rotation(0, -a[side + "e"]), np.array([0, -0.5, 0]))
        hip = np.broadcast_to(np.array([sign * 0.2, 0, 0]), (n, 3))
        leg = rotation(2, sign * a[side + "o"]) @ rotation(0, -a[side + "t"])
        knee = hip + at(leg, np.array([0, -1.0, 0])) * size["thigh"][:, None]
        ankle = knee + at(leg @ rotation(0, a[side + "k"]), np.array([0, -1.0, 0])) * size["shin"][:, None]
        for j, v in zip((5, 7, 9, 11, 13, 15), (shoulder, elbow, wrist, hip, knee, ankle), strict=True):
            joints[:, j + k] = v
    spin = rng.uniform(0, 2 * np.pi, n)
    back = rotation(1, spin) @ rotation(0, a["tilt"]) @ rotation(1, -spin)
    if word in ("lying",):
        back = rotation(0, a["tilt"]) @ rotation(1, rng.uniform(0, 2 * np.pi, n))
    joints = np.einsum("nij,nkj->nki", back, joints)
    mirror = rng.random(n) < 0.5
    swap = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    joints[mirror] = joints[mirror][:, swap] * np.array([-1, 1, 1])
    return joints


def views(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 17, 3) keypoints: image x, y (down) in pixels, score."""
    n = len(joints)
    turn = rotation(1, rng.uniform(0, 2 * np.pi, n))
    look = rotation(0, rng.beta(1.2, 2.0, n) * 50 * D)
    roll = rotation(2, rng.normal(0, 3, n) * D)
    p = np.einsum("nij,nkj->nki", roll @ look @ turn, joints)
    far = rng.uniform(5, 25, n)[:, None]
    p = p / (1 - p[..., 2:] / far[..., None])
    noise = rng.gamma(2.0, 0.022, (n, 1, 1)) * rng.normal(size=(n, 17, 2))
    xy = p[..., :2] * [1, -1] + noise
    wild = rng.random((n, 17)) < 0.03
    xy[wild] += rng.normal(0, 0.3, (int(wild.sum()), 2))
    return np.concatenate([xy * 50, np.full((n, 17, 1), 0.7)], -1).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--each", type=int, default=12000)
    args = parser.parse_args()
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    sets = []
    for n in (args.each, 1500):
        points = np.concatenate([views(bodies(w, n, rng), rng) for w in POSTURES])
        x = np.stack([posture_features(p) for p in points])
        sets.append((torch.tensor(x, dtype=torch.float32), torch.arange(len(POSTURES)).repeat_interleave(n)))
    (x, y), (tx, ty) = sets
    mean, std = x.mean(0), x.std(0) + 1e-3
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 48), torch.nn.ReLU(),
        torch.nn.Linear(48, len(POSTURES)),
    )  # fmt: skip
    steps, batch = 3000, 512
    opt = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 6e-3, steps)
    for _ in range(steps):
        i = torch.randint(0, len(x), (batch,))
        loss = torch.nn.functional.cross_entropy(net((x[i] - mean) / std), y[i], label_smoothing=0.05)
        opt.zero_grad()
        loss.backward()
        opt.step()
        plan.step()
    with torch.no_grad():
        said = net((tx - mean) / std).argmax(1)
    for k, word in enumerate(POSTURES):
        row = said[ty == k]
        print(
            f"{word:10s}"
            + " ".join(f"{int((row == j).float().mean() * 100):4d}" for j in range(len(POSTURES)))
        )
    print("balanced accuracy on unseen skeletons", round(float((said == ty).float().mean()), 3))
    if args.write:
        layers = {
            f"{n.replace('.', '_')}": p.detach().numpy().astype(np.float16) for n, p in net.named_parameters()
        }
        np.savez_compressed(OUT, mean=mean.numpy(), std=std.numpy(), **layers)


if __name__ == "__main__":
    main()
