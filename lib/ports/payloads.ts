/** Where large bytes lie: S3's semantics of whole objects. */
export interface Payloads {
  /**
   * Stores bytes under a key. Keys name their content or their one writer, so storing twice stores the same, and what is there
   * stays as it is. With `renew` the same bytes are written over it, so that the time until its class ends begins anew.
   *
   * @throws TasklaneError `BACKEND_UNAVAILABLE`, `PERMISSION_DENIED`, `RESOURCE_MISSING`
   */
  put(key: string, bytes: Uint8Array, options?: { readonly renew?: boolean | undefined }): Promise<void>;
  /**
   * Reads bytes back, or `undefined` if the object is not there. Being refused or not being answered is an error, never "not there".
   *
   * @throws TasklaneError `BACKEND_UNAVAILABLE`, `PERMISSION_DENIED`, `RESOURCE_MISSING`
   */
  get(key: string): Promise<Uint8Array | undefined>;
}
