"use strict";
document.documentElement.classList.add("js");
function regions(chip) {
  return chip.closest("article").querySelectorAll('.ev[data-n="' + chip.dataset.n + '"]');
}
function show(chip, on) {
  var pinned = chip.getAttribute("aria-pressed") === "true";
  regions(chip).forEach(function (r) { r.classList.toggle("on", on || pinned); });
}
var chips = document.querySelectorAll("button.chip");
chips.forEach(function (chip) {
  chip.addEventListener("mouseenter", function () { show(chip, true); });
  chip.addEventListener("mouseleave", function () { show(chip, false); });
  chip.addEventListener("focus", function () { show(chip, true); });
  chip.addEventListener("blur", function () { show(chip, false); });
  chip.addEventListener("click", function () {
    var pin = chip.getAttribute("aria-pressed") !== "true";
    chip.setAttribute("aria-pressed", String(pin));
    show(chip, pin);
  });
});
document.querySelectorAll(".word[data-slot]").forEach(function (word) {
  function all(on) {
    document.querySelectorAll('.chip[data-slot="' + word.dataset.slot + '"]').forEach(function (chip) {
      chip.classList.toggle("lit", on);
      if (chip.dataset.n) { show(chip, on); }
    });
  }
  ["mouseenter", "focus"].forEach(function (e) { word.addEventListener(e, function () { all(true); }); });
  ["mouseleave", "blur"].forEach(function (e) { word.addEventListener(e, function () { all(false); }); });
});
document.addEventListener("keydown", function (event) {
  if (event.key !== "Escape") { return; }
  chips.forEach(function (chip) { chip.setAttribute("aria-pressed", "false"); show(chip, false); });
});
