// The list of the sessions: of all tenants to who may see them, else of the key's own.

import { Refusal, call, named, words } from "../api.js";
import { duration, element, short } from "../dom.js";

let seesAll = true;

/** A page of the live sessions; `refused` says in words why there is none. */
export async function loadSessions({ limit = 50, cursor = "", model = "" } = {}) {
  const query = new URLSearchParams({ limit, ...(cursor && { cursor }), ...(model && { model }) });
  try {
    if (seesAll) {
      try {
        return await call("GET", `v1/sessions?tenant=*&${query}`, undefined, { isQuiet: true });
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 403) throw error;
        seesAll = false;
      }
    }
    return await call("GET", `v1/sessions?${query}`, undefined, { isQuiet: true });
  } catch (error) {
    if (error instanceof Refusal) return { sessions: [], next_cursor: null, refused: words(error) };
    throw error;
  }
}

/** Another key may see more. */
export function lookAnew() {
  seesAll = true;
}

export function age(time) {
  return duration((Date.now() - Date.parse(time)) / 1000);
}

export function sessionTable({ sessions }) {
  const tenants = sessions.some(({ tenant }) => tenant && tenant !== "-");
  return element("table", {},
    element("thead", {}, element("tr", {},
      element("th", { scope: "col" }, "Session"), element("th", { scope: "col" }, "Model"),
      element("th", { scope: "col", class: "number" }, "Steps"), element("th", { scope: "col", class: "number" }, "Age"),
      tenants ? element("th", { scope: "col" }, "Tenant") : null)),
    element("tbody", {}, sessions.map((session) => element("tr", {},
      element("td", {}, element("a", { href: place(session) }, session.session_id)),
      element("td", {}, `${session.model}/${session.version}`),
      element("td", { class: "number" }, short(session.steps)),
      element("td", { class: "number" }, age(session.opened_at)),
      tenants ? element("td", {}, session.tenant) : null))));
}

function place({ session_id: id, tenant }) {
  return `#/session/${named(id)}${tenant && tenant !== "-" ? `/${named(tenant)}` : ""}`;
}
