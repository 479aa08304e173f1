// What several modules need of the page: its data, its templates, and a place to say something.

export const main = document.querySelector("main");
export const { root, me } = main.dataset;
export const isAdmin = "admin" in main.dataset;

export function csrfToken() {
  return document.querySelector("input[name=csrf_token]")?.value ?? "";
}

export function counted(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Say something above the text, with a link that loads the page again, or a button. */
export function notice(text, { reload, button, onPress } = {}) {
  const element = document.querySelector("[data-notice]");
  element.textContent = `${text} `;
  if (reload) {
    const link = document.createElement("a");
    link.href = location.pathname;
    link.textContent = reload;
    element.append(link);
  }
  if (button) {
    const pressed = document.createElement("button");
    pressed.type = "button";
    pressed.className = "link";
    pressed.textContent = button;
    pressed.addEventListener("click", () => {
      element.hidden = true;
      onPress();
    });
    element.append(pressed);
  }
  element.hidden = false;
}

/** Whether somebody has typed what loading the page again would take away. */
export function isTyping() {
  return [...document.querySelectorAll("textarea, input[type=text]")].some(
    (field) => field.value !== field.defaultValue,
  );
}
