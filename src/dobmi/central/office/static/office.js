// The office's page has no rules of its own: what all pages do is enough.
"use strict";

window.dobmi.start({});
