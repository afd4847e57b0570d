import sharp from "sharp";

/** How wide a thumbnail is; the height follows from the photo. */
export const THUMBNAIL_WIDTH_PX = 240;

// A worker runs many tasks at once, so one resize must not take every core.
sharp.concurrency(1);

/** Resizes a photo to a JPEG 240 pixels wide. */
export async function makeThumbnail(photo: Uint8Array): Promise<Buffer> {
  return sharp(photo).rotate().resize({ width: THUMBNAIL_WIDTH_PX }).jpeg({ quality: 80 }).toBuffer();
}
