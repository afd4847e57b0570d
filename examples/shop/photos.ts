import sharp from "sharp";

/** A photo that stands for a file on which native code takes the whole process down, each time. */
export const PILL_PHOTO = "decoder-killer.jpg";

/** The photos that customers sent in. */
export const PHOTOS: readonly string[] = [
  "beach.jpg",
  "bicycle.jpg",
  "birthday.jpg",
  "cat.jpg",
  "garden.jpg",
  "harbour.jpg",
  "kayak.jpg",
  "mountain.jpg",
  "snow.jpg",
  "sunset.jpg",
  "wedding.jpg",
  PILL_PHOTO,
];

const WIDTH_PX = 1600;
const HEIGHT_PX = 1200;

/** Draws a photo as a JPEG: a sky, a sun, a row of hills, each photo in its own colours. */
export async function drawPhoto(index: number): Promise<Buffer> {
  const hue = Math.round((index * 360) / PHOTOS.length);
  const hills = Array.from({ length: 5 }, (_, hill) => {
    const top = HEIGHT_PX * (0.5 + hill * 0.09);
    const centre = (hill * 397 + index * 211) % WIDTH_PX;
    return `<ellipse cx="${centre}" cy="${HEIGHT_PX}" rx="${WIDTH_PX * 0.6}" ry="${HEIGHT_PX - top}"
      fill="hsl(${(hue + 120) % 360}, 45%, ${55 - hill * 9}%)" />`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH_PX}" height="${HEIGHT_PX}">
    <defs><linearGradient id="sky" x2="0" y2="1">
      <stop offset="0" stop-color="hsl(${hue}, 70%, 45%)" /><stop offset="1" stop-color="hsl(${(hue + 40) % 360}, 90%, 85%)" />
    </linearGradient></defs>
    <rect width="100%" height="100%" fill="url(#sky)" />
    <circle cx="${200 + ((index * 331) % 1200)}" cy="${180 + ((index * 97) % 300)}" r="110" fill="hsl(48, 100%, 80%)" />
    ${hills.join("")}
  </svg>`;
  return sharp(Buffer.from(svg)).jpeg({ quality: 88 }).toBuffer();
}
