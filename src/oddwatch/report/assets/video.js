"use strict";
document.documentElement.classList.add("js");
(function () {
  var data = JSON.parse(document.getElementById("data").textContent), axis = data.axis, now = data.start;
  var slide = document.getElementById("slide"), reset = document.getElementById("reset");
  var rate = document.getElementById("rate"), calibrated = rate.textContent;
  var still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  function id(name) { return document.getElementById(name); }
  function short(number, digits) { return String(Number(number.toPrecision(digits || 4))); }
  function value(at) { return axis.usual + axis.unit * Math.sinh(axis.low + at / 1000 * (axis.high - axis.low)); }
  function place(score) {
    var share = (Math.asinh((score - axis.usual) / axis.unit) - axis.low) / (axis.high - axis.low);
    return 1000 * Math.min(Math.max(share, 0), 1);
  }
  function clock(seconds) {
    var tenths = Math.max(Math.round(10 * seconds), 0), s = Math.floor(tenths / 10), two = function (n) { return (n < 10 ? "0" : "") + n; };
    var head = s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) : two(Math.floor(s / 60));
    return head + ":" + two(s % 60) + "." + tenths % 10;
  }
  function lasting(seconds) {
    if (seconds < 59.95) { return seconds.toFixed(1) + " s"; }
    var s = Math.round(seconds), m = Math.floor(s / 60);
    return s < 3600 ? m + " min" + (s % 60 ? " " + s % 60 + " s" : "") : Math.floor(m / 60) + " h" + (m % 60 ? " " + m % 60 + " min" : "");
  }
  function many(n, word) { return n + " " + word + (n === 1 ? "" : "s"); }

  data.clips.forEach(function (clip) {
    if (Array.isArray(clip.t)) { return; }
    var even = clip.t;
    clip.t = clip.v.map(function (_, i) { return even.from + i * even.step; });
  });

  // The rule of oddwatch.scoring.spans.localise: [start, end, peak, score] of each stretch.
  function segments(clip, threshold) {
    var low = Math.min(threshold, data.cut.usual + data.cut.hold * (threshold - data.cut.usual)), runs = [], run = null, tiny = 1e-9;
    clip.v.forEach(function (v, i) {
      var end = i in clip.holes ? clip.holes[i] : i + 1 < clip.t.length ? clip.t[i + 1] : clip.end;
      if (run && clip.t[i] - run[1] > tiny) { run = null; }
      if (v < low) { run = null; return; }
      if (run) { run[1] = end; if (v > run[3]) { run[2] = clip.t[i]; run[3] = v; } } else { run = [clip.t[i], end, clip.t[i], v]; runs.push(run); }
    });
    return runs.filter(function (r) { return r[3] >= threshold; }).reduce(function (kept, r) {
      var last = kept[kept.length - 1];
      if (last && r[0] - last[1] <= data.cut.merge + tiny) {
        last[1] = r[1];
        if (r[3] > last[3]) { last[2] = r[2]; last[3] = r[3]; }
      } else { kept.push(r); }
      return kept;
    }, []).filter(function (r) { return r[1] - r[0] >= data.cut.minimum - tiny; });
  }

  function jump(key, at, rolling) {
    var video = id("player" + key);
    if (!video) { return; }
    video.currentTime = at;
    video.scrollIntoView({block: "nearest", behavior: still ? "auto" : "smooth"});
    if (rolling) { video.play().catch(function () { /* the browser wants a press on its own button first */ }); }
  }
  document.addEventListener("click", function (event) {
    var link = event.target.closest(".jump");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) { return; }
    event.preventDefault();
    jump(link.getAttribute("data-clip"), Number(link.getAttribute("data-at")), true);
  });

  function bands(key, clip, found) {
    function rects(parent, kind, height, list) {
      parent.replaceChildren.apply(parent, list.map(function (s) {
        var rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        rect.setAttribute("class", kind);
        rect.setAttribute("x", (1000 * s[0] / clip.seconds).toFixed(2));
        rect.setAttribute("width", Math.max(1000 * (s[1] - s[0]) / clip.seconds, 1.5).toFixed(2));
        rect.setAttribute("height", height);
        return rect;
      }));
    }
    var chart = id("chart" + key);
    rects(chart.querySelector(".spans"), "shade", 1, found);
    chart.querySelectorAll(".decides").forEach(function (group, row) {
      rects(group, "told", 1000, found.filter(function (s) { return decided(clip, s[2]) === row; }));
    });
  }
  function index(clip, at) {
    var low = 0, high = clip.t.length;
    while (low < high) { var mid = (low + high) >> 1; if (clip.t[mid] <= at + 1e-6) { low = mid + 1; } else { high = mid; } }
    return Math.max(low - 1, 0);
  }
  function decided(clip, at) {
    var i = index(clip, at), best = -1, top = -Infinity;
    clip.has.forEach(function (lane, k) { if (clip.cues[k][i] > top) { top = clip.cues[k][i]; best = lane; } });
    return best;
  }
  function list(key, clip, found) {
    var into = id("moments" + key), video = id("player" + key);
    into.replaceChildren.apply(into, found.map(function (s) {
      var row = document.createElement("li"), rank = document.createElement("span"), when = document.createElement(video ? "a" : "span");
      var took = document.createElement("span"), peak = document.createElement("span");
      var known = clip.found.filter(function (f) { return f[2] >= s[0] - 1e-3 && f[2] < s[1] + 1e-3; }).map(function (f) { return f[4]; });
      rank.className = known.length ? "rank" : "rank new";
      rank.textContent = known.length ? known.join(", ") : "new";
      when.textContent = clock(s[0]) + " – " + clock(s[1]);
      when.className = video ? "jump when" : "when";
      if (video) {
        when.href = video.getAttribute("src").split("#")[0] + "#t=" + s[0].toFixed(2);
        when.dataset.clip = key; when.dataset.at = s[0].toFixed(3);
      }
      took.className = "soft"; took.textContent = lasting(s[1] - s[0]);
      peak.className = "soft peak"; peak.textContent = "peak " + short(s[3], 3);
      row.append(rank, when, took, peak);
      return row;
    }));
    into.previousElementSibling.textContent = found.length ? "Moments" : "No moment reaches the threshold";
  }

  function move() {
    var total = 0, home = now === data.start, height = (1000 - place(now)).toFixed(1);
    data.clips.forEach(function (clip, key) {
      var found = home ? clip.found : segments(clip, now);
      total += found.length;
      bands(key, clip, found);
      list(key, clip, found);
    });
    id("above").textContent = total;
    id("noun").textContent = total === 1 ? "moment" : "moments";
    id("value").textContent = short(now);
    id("overrect").setAttribute("height", height);
    document.querySelectorAll(".cutline").forEach(function (line) { line.setAttribute("y1", height); line.setAttribute("y2", height); });
    document.querySelectorAll(".cutname").forEach(function (name) {
      name.setAttribute("y", (data.top + data.field * height / 1000 - 4).toFixed(1));
      name.textContent = "threshold " + short(now, 3);
    });
    var inside = {};
    data.clips.forEach(function (clip) { clip.found.forEach(function (f) { inside[f[4]] = home || f[3] >= now; }); });
    document.querySelectorAll(".found, .mark").forEach(function (node) {
      node.classList.toggle("out", !inside[node.getAttribute("data-number")]);
    });
    rate.textContent = home ? calibrated : told();
    reset.disabled = home;
    slide.setAttribute("aria-valuetext", "threshold " + short(now) + ", " + many(total, "moment"));
  }
  function told() {
    if (!data.hours) { return "moved by hand; no normal footage to count false alarms on"; }
    if (!data.counted) { return "moved by hand"; }
    var n = data.events.filter(function (v) { return v >= now; }).length;
    return many(n, "false alarm") + " in " + lasting(3600 * data.hours) + " of normal footage" + (n ? " (" + short(n / data.hours, 2) + " an hour)" : "");
  }
  if (slide) {
    slide.addEventListener("input", function () { now = value(Number(slide.value)); move(); });
    reset.addEventListener("click", function () { now = data.start; slide.value = place(now); move(); });
  }

  data.clips.forEach(function (clip, key) {
    var chart = id("chart" + key), probe = chart.querySelector(".probe"), cursor = chart.querySelector(".cursor"), mark = chart.querySelector(".now");
    var read = id("read" + key), at = 0, video = id("player" + key), text;
    if (!clip.t.length) { return; }
    function show(seconds) {
      var i = index(clip, seconds), cues;
      at = Math.min(Math.max(seconds, 0), clip.seconds);
      cursor.style.left = 100 * at / clip.seconds + "%";
      cursor.classList.add("on");
      text = [clock(at), short(clip.v[i], 3) + (clip.v[i] >= now ? " ≥ " : " < ") + short(now, 3)];
      cues = clip.has.map(function (lane, k) { return [data.lanes[lane], clip.cues[k][i]]; }).sort(function (a, b) { return b[1] - a[1]; });
      if (cues.length) { text.push(cues.slice(0, 3).map(function (c) { return c[0] + " " + short(c[1], 2); }).join(", ")); }
      read.textContent = text.join(" · ");
      probe.setAttribute("aria-valuenow", at.toFixed(1));
      probe.setAttribute("aria-valuetext", text.join(", "));
    }
    function time(event) {
      var box = probe.getBoundingClientRect();
      return clip.seconds * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    }
    probe.addEventListener("pointermove", function (event) { show(time(event)); });
    probe.addEventListener("click", function (event) { show(time(event)); jump(key, at, true); });
    probe.addEventListener("keydown", function (event) {
      var step = clip.t.length > 1 ? (clip.end - clip.t[0]) / clip.t.length : 1, far = clip.seconds / 10;
      var next = {ArrowLeft: at - step, ArrowRight: at + step, ArrowDown: at - step, ArrowUp: at + step,
        PageDown: at - far, PageUp: at + far, Home: 0, End: clip.end - step}[event.key];
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); jump(key, at, true); return; }
      if (next === undefined) { return; }
      event.preventDefault();
      show(next);
    });
    if (video) {
      var follow = function () {
        mark.style.left = 100 * Math.min(video.currentTime / clip.seconds, 1) + "%";
        mark.classList.add("on");
        if (!video.paused) { requestAnimationFrame(follow); }
      };
      ["play", "seeked", "timeupdate"].forEach(function (kind) { video.addEventListener(kind, function () { if (kind === "play" || video.paused) { follow(); } }); });
    }
  });
  if (slide) { slide.value = place(now); move(); }
})();
