/** What a page or a worker imports of the lean runtime. */

export { LeanSession, type Source } from "./session.js";
