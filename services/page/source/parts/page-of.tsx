/** Pages, whose scripts are loaded when they are opened for the first time. */
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { PAGES, type Page } from "../pages";
import { t } from "../words";
import { Failed, Loading } from "./notes";

const loaded = new Map<string, Page>();

export function PageOf({ page }: { page: string }): JSX.Element {
  const name = page in PAGES ? page : "overview";
  return <Loaded name={name} load={PAGES[name]} />;
}

interface ToLoad {
  name: string;
  load: (() => Promise<Page>) | undefined;
}

export function Loaded({ name, load }: ToLoad): JSX.Element {
  const [opened, setOpened] = useState<Page | undefined>(() => loaded.get(name));
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    if (opened) return;
    load?.().then(
      (found) => {
        loaded.set(name, found);
        setOpened(() => found);
      },
      () => setFailed(true),
    );
  }, [name]);
  if (failed) {
    return (
      <>
        <Failed message={t("page_not_loaded")} />
        <button type="button" onClick={() => location.reload()}>
          {t("reload")}
        </button>
      </>
    );
  }
  if (!opened) return <Loading />;
  const Opened = opened;
  return <Opened />;
}
