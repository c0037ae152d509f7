// Who is signed in. The key lives in this tab and is gone with it.

const KEY = "studio.key";

/** The key of this tab; empty when nobody is signed in. */
export const savedKey = () => sessionStorage.getItem(KEY) ?? "";
export const saveKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

/** Tenant, role, quotas of the key; the operator's belongs to no tenant. */
export async function whoIs(api) {
  try {
    return await api.get("me");
  } catch (error) {
    if (error.code === "TENANT_KEY_REQUIRED") return { role: "operator", tenant: "", key: "" };
    throw error;
  }
}
