/** A builder of definitions: an explorer of one kind, with a preview of what will be counted live. */
import type { JSX } from "preact";
import { address } from "../state/router";
import { project } from "../state/session";
import { Head } from "../parts/shell";
import type { QueryName } from "./draft";
import { Explorer } from "./explorer";

export function Builder({
  page,
  name,
  title,
  note,
}: {
  page: string;
  name: QueryName;
  title: string;
  note: string;
}): JSX.Element {
  return (
    <>
      <Head title={title} note={note} back={address(project.value, page)} />
      <Explorer name={name} place={[page, "+new"]} />
    </>
  );
}
