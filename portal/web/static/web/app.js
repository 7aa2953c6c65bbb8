/* What pages gain where scripts run: copy buttons, a confirmation in a dialog, and clocks that tick. */
(() => {
  "use strict";

  const root = document.documentElement;
  root.classList.add("js");

  const say = (text) => {
    const live = document.getElementById("announce");
    if (live) live.textContent = text;
  };

  // --- copy ---------------------------------------------------------------------------------------------------------

  const select = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    const label = button.querySelector("[data-label]");
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      label.textContent = "Copied";
      say(`${button.dataset.what} copied`);
    } catch {
      // No clipboard on a page served without TLS: hand the selection over instead.
      select(source);
      label.textContent = "Selected";
      say(`${button.dataset.what} selected, copy it with the keyboard`);
    }
    window.setTimeout(() => {
      label.textContent = "Copy";
    }, 2000);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
    const closer = event.target.closest("[data-close]");
    const dialog = closer && closer.closest("dialog");
    if (dialog) {
      event.preventDefault();
      dialog.close();
    }
  });

  // --- confirmation in a dialog ---------------------------------------------------------------------------------------

  // Once it is settled: htmx moves the focus then, which would take it from whoever is already typing.
  document.addEventListener("htmx:afterSettle", (event) => {
    const dialog = event.detail.target.closest("dialog");
    if (dialog && !dialog.open) dialog.showModal();
  });

  // A click twice is one wish; but a download leaves the page there, for another.
  document.addEventListener("submit", (event) => {
    for (const button of event.target.querySelectorAll("button:not([type=button]):not([data-again])")) {
      window.setTimeout(() => {
        button.disabled = true;
      }, 0);
    }
  });

  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });

  // --- times --------------------------------------------------------------------------------------------------------

  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

  /* The same words as the template filter `ago`. */
  const ago = (seconds) => {
    if (seconds < 5) return "just now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  };

  // The server's clock at the time of the page: a viewer's own clock may be wrong.
  const pageTime = document.querySelector("meta[name=page-time]");
  const offset = pageTime ? Date.parse(pageTime.content) - Date.now() : 0;

  const tick = () => {
    for (const element of document.querySelectorAll("time[data-ago]")) {
      const at = Date.parse(element.dateTime);
      const text = ago((Date.now() + offset - at) / 1000);
      if (element.textContent !== text) element.textContent = text;
      if (!element.dataset.zoned) {
        element.dataset.zoned = "yes";
        element.title = exact.format(at);
      }
    }
  };

  tick();
  window.setInterval(tick, 1000);
})();
