// Files that are dropped or pasted anywhere on the page join the uploads. A browser left to itself would open a dropped
// file in place of the page, and with it everything on the page would be gone.

export function takeFiles() {
  document.addEventListener("dragover", (event) => carriesFiles(event.dataTransfer) && event.preventDefault());
  document.addEventListener("drop", (event) => take(event, event.dataTransfer));
  document.addEventListener("paste", (event) => take(event, event.clipboardData));
}

const carriesFiles = (carried) => Boolean(carried?.types.includes("Files"));

function take(event, carried) {
  const field = document.querySelector("#upload input[type=file]");
  if (!carriesFiles(carried) || takenByFramework(event)) return;
  event.preventDefault();
  if (!field || !carried.files.length) return;
  field.files = carried.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

// Its field takes what is dropped there. The rows of its list answer to a drop, too, but only to change their order.
function takenByFramework(event) {
  return event.defaultPrevented && Boolean(event.target.closest("#upload button")?.querySelector("input[type=file]"));
}
