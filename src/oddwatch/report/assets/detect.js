"use strict";
document.documentElement.classList.add("js");
(function () {
  var data = JSON.parse(document.getElementById("data").textContent);
  var slide = document.getElementById("slide"), mark = document.getElementById("mark"), reset = document.getElementById("reset");
  var tiles = Array.from(document.querySelectorAll(".tile")), dots = Array.from(document.querySelectorAll(".dot"));
  var only = document.getElementById("only"), heat = document.getElementById("heat"), now = data.start;
  function value(at) {
    return data.usual + data.unit * Math.sinh(data.low + at / 1000 * (data.high - data.low));
  }
  function place(score) {
    var share = (Math.asinh((score - data.usual) / data.unit) - data.low) / (data.high - data.low);
    return 1000 * Math.min(Math.max(share, 0), 1);
  }
  function short(number) { return String(Number(number.toPrecision(4))); }
  function say(id, text) { document.getElementById(id).textContent = text; }
  function move() {
    var above = data.scores.filter(function (s) { return s >= now; }).length, x = place(now).toFixed(2);
    var high = data.normal.filter(function (s) { return s >= now; }).length, n = data.normal.length;
    mark.setAttribute("x1", x); mark.setAttribute("x2", x);
    say("above", above);
    say("value", short(now));
    say("rate", n ? high + " of " + n + " normal pictures would be told too" : "no normal pictures were given");
    slide.setAttribute("aria-valuetext", "threshold " + short(now) + ", " + above + " pictures above");
    dots.forEach(function (dot, i) { dot.classList.toggle("above", data.scores[i] >= now); });
    tiles.forEach(function (tile) {
      var up = Number(tile.dataset.score) >= now;
      tile.classList.toggle("above", up);
      tile.classList.toggle("out", only.checked && !up);
    });
    reset.disabled = now === data.start;
  }
  slide.addEventListener("input", function () { now = value(Number(slide.value)); move(); });
  reset.addEventListener("click", function () { now = data.start; slide.value = place(now); move(); });
  only.addEventListener("change", move);
  if (heat) { heat.addEventListener("change", function () { document.documentElement.classList.toggle("cold", !heat.checked); }); }
  document.querySelectorAll(".peek").forEach(function (peek) {
    peek.addEventListener("click", function () {
      peek.setAttribute("aria-pressed", String(peek.getAttribute("aria-pressed") !== "true"));
    });
  });
  slide.value = place(now);
  move();
})();
