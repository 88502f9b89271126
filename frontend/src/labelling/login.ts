/** Logging in: a page of its own, and a dialog over work that goes on. */

import { begin, post, type Me } from "../api";
import { dialog, fill, h } from "../dom";

function form(done: () => void, name = ""): HTMLFormElement {
  const who = h("input", { type: "text", name: "name", required: true, maxlength: 200, autocomplete: "username", value: name, readonly: name !== "" });
  const password = h("input", { type: "password", name: "password", required: true, maxlength: 1024, autocomplete: "current-password" });
  const said = h("p", { class: "error", role: "alert" });
  const button = h("button", { class: "plain main" }, "Log in");
  const send = async (): Promise<void> => {
    button.disabled = true;
    try {
      await post("labelling/login", { name: who.value, password: password.value }, undefined, "POST", { "X-CSRF-Token": "login" });
      await begin();
      done();
    } catch (error) {
      fill(said, error instanceof Error ? error.message : String(error));
      password.value = "";
      password.focus();
    } finally {
      button.disabled = false;
    }
  };
  return h(
    "form",
    { class: "login", onsubmit: (event: Event) => (event.preventDefault(), void send()) },
    h("label", {}, "Name", who),
    h("label", {}, "Password", password),
    said,
    button,
  );
}

export function loginPage(done: () => void): HTMLElement {
  return h(
    "div",
    { class: "login-page" },
    h("section", { class: "card" }, h("h1", {}, "Labelling"), form(done), h("p", { class: "note" }, "The administrator of the project gives names and passwords. Research software, not a medical device.")),
  );
}

let asking: Promise<void> | null = null;

/** Ask for the password again, over whatever is open; whoever else logs in gets a page of her or his own. */
export function askLogin(me: Me): Promise<void> {
  asking ??= new Promise<void>((resolve) => {
    const box = dialog("Log in again", h("p", {}, "Your session has ended. What you did is kept in this browser and is sent when you have logged in."));
    box.append(form(() => box.close("in"), me.name));
    box.querySelector<HTMLInputElement>("input[type=password]")?.focus();
    box.addEventListener("close", () => {
      asking = null;
      resolve();
    });
  });
  return asking;
}
