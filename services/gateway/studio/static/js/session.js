// Who is signed in. The key, or the identity provider's token, lives in this tab and is gone with it.

const KEY = "studio.key";

/** The key of this tab; empty when nobody is signed in. */
export const savedKey = () => sessionStorage.getItem(KEY) ?? "";
export const saveKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

/** What to say when it is no longer taken. */
export const refused = (key) => (key.startsWith("avk_")
  ? "The key of this tab is no longer taken. Sign in with another."
  : "Your sign-in has ended. Sign in again.");

/** Tenant, role, quotas of the key; the operator's belongs to no tenant. */
export async function whoIs(api) {
  try {
    return await api.get("me");
  } catch (error) {
    if (error.code === "TENANT_KEY_REQUIRED") return { role: "operator", tenant: "", key: "" };
    throw error;
  }
}
