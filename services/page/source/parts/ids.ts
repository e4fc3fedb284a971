/** An id that says what a definition is called, and that no other has. */
export function freeId(name: string, otherwise: string, others: readonly { id: string }[]): string {
  const plain = name
    .normalize("NFD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .toLowerCase()
    .slice(0, 48);
  const taken = new Set(others.map((one) => one.id));
  const base = plain || otherwise;
  let id = base;
  for (let n = 2; taken.has(id); n++) id = `${base}-${n}`;
  return id;
}
