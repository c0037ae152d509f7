// A consent on record, before any avatar.

import { card, page } from "../parts/page.js";
import { consentForm } from "../parts/consent.js";

export function newConsentPage(context) {
  return page({
    title: "New consent", back: ["#/consents", "Consents"],
    about: "Write down who agrees to what. With evidence, the person then reads a statement with words drawn for this one consent.",
  }, card("The consent", consentForm(context, ({ id }) => context.go(`/consents/${id}`), { all: true })));
}
