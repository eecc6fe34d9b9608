/** Small choices that outlive a visit, where storage is not refused. */

export function remembered(key: string, otherwise: string): string {
  try {
    return localStorage.getItem(key) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Refused here: the choice holds for this visit.
  }
}
