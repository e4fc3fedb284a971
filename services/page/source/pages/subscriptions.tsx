/** Subscriptions: who is told of which events, how their messages fare, and the form that defines one. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, put, remove } from "../state/api";
import { titleOf } from "../state/definitions";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import type { Word } from "../words";
import { Delete } from "../parts/delete";
import { useRun } from "../parts/form";
import { Icon } from "../parts/icons";
import { Empty, Failed, Loading } from "../parts/notes";
import { useAsked, useTick } from "../parts/resource";
import { Head } from "../parts/shell";
import { Deliveries, DeliveryBadge, Secret } from "../notices/deliveries";
import { type Subscription, SubscriptionForm, targetOf } from "../notices/form";

const EVERY_MS = 5_000;

export function Subscriptions(): JSX.Element {
  if (!mayWrite.value) {
    return (
      <>
        <Head title={t("page_subscriptions")} note={t("subscriptions_note")} />
        <Empty title={t("subscriptions_editor")}>{t("subscriptions_editor_note")}</Empty>
      </>
    );
  }
  return <Opened />;
}

function Opened(): JSX.Element {
  const { id, more } = route.value;
  const tick = useTick(EVERY_MS);
  const { value, error } = useAsked(
    `${project.value}/subscriptions/${id}/${more}`,
    () => get("/api/projects/{project}/subscriptions", { project: project.value }, { limit: 200 }),
    tick,
  );
  if (error && !value) return <Failed message={error} />;
  if (!value) return <Loading />;
  const { subscriptions } = value;
  if (id === "+new") return <SubscriptionForm before={undefined} others={subscriptions} />;
  if (!id) return <SubscriptionList subscriptions={subscriptions} />;
  const found = subscriptions.find((one) => one.id === id);
  if (!found) return <Failed message={t("not_there")} />;
  return more === "edit" ? <SubscriptionForm before={found} others={subscriptions} /> : <SubscriptionPage one={found} />;
}

function useStatus(id: string, mark: string) {
  const tick = useTick(EVERY_MS);
  return useAsked(
    `${project.value}/subscriptions/${id}/status`,
    () => get("/api/projects/{project}/subscriptions/{id}/status", { project: project.value, id }),
    `${mark}/${tick}`,
  );
}

function SubscriptionList({ subscriptions }: { subscriptions: Subscription[] }): JSX.Element {
  const create = (
    <a class="button primary" href={address(project.value, "subscriptions", "+new")}>
      <Icon name="plus" />
      {t("new_subscription")}
    </a>
  );
  return (
    <>
      <Head title={t("page_subscriptions")} note={t("subscriptions_note")}>
        {subscriptions.length > 0 && create}
      </Head>
      {subscriptions.length === 0 ? (
        <Empty title={t("no_subscriptions")} action={create}>
          {t("no_subscriptions_note")}
        </Empty>
      ) : (
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("subscription")}</th>
                <th scope="col">{t("state")}</th>
                <th scope="col">{t("destination")}</th>
                <th scope="col" class="wide">
                  {t("told_of")}
                </th>
              </tr>
            </thead>
            <tbody>
              {subscriptions.map((one) => (
                <Row key={one.id} one={one} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function Row({ one }: { one: Subscription }): JSX.Element {
  const { value } = useStatus(one.id, String(one.version));
  return (
    <tr>
      <th scope="row">
        <a href={address(project.value, "subscriptions", one.id)}>{titleOf(one)}</a>
      </th>
      <td>
        <DeliveryBadge status={value} />
      </td>
      <td class="wrap">
        {t(`destination_${one.destination.type}`)} · {targetOf(one.destination)}
      </td>
      <td class="wide wrap">{toldOf(one)}</td>
    </tr>
  );
}

/** The events of a subscription, in words. */
function toldOf(one: Subscription): string {
  const said = one.events.map(({ type, id }) => t(`notice_${type}` as Word) + (id ? ` · ${id}` : ""));
  return said.join("; ") || t("told_by_alerts");
}

function SubscriptionPage({ one }: { one: Subscription }): JSX.Element {
  const places = { project: project.value, id: one.id };
  const [changed, change] = useState(0);
  const { value: status, error: unread } = useStatus(one.id, `${one.revision}/${changed}`);
  const { busy, error, run } = useRun();
  const pause = () =>
    run(async () => {
      const { destination, events, max_age_s, name, description, revision, active } = one;
      const body = { destination, events, max_age_s, name, description, revision, active: !active };
      await put("/api/projects/{project}/subscriptions/{id}", places, body);
      change((before) => before + 1);
    });
  return (
    <>
      <Head
        title={titleOf(one)}
        back={address(project.value, "subscriptions")}
        note={
          <>
            <DeliveryBadge status={status} /> · {t(`destination_${one.destination.type}`)} ·{" "}
            <span class="breaks">{targetOf(one.destination)}</span>
          </>
        }
      >
        <button type="button" disabled={busy} onClick={() => void pause()}>
          {t(one.active ? "pause" : "resume")}
        </button>
        <a class="button" href={address(project.value, "subscriptions", one.id, "edit")}>
          {t("edit")}
        </a>
        <Delete
          name={titleOf(one)}
          run={() => remove("/api/projects/{project}/subscriptions/{id}", places)}
          then={() => go(project.value, "subscriptions")}
        />
      </Head>
      <div class="stack">
        {(error || (unread && !status)) && <Failed message={error || unread} />}
        <section class="card">
          <header>
            <h2>{t("told_of")}</h2>
          </header>
          <p>{toldOf(one)}</p>
        </section>
        {status ? <Deliveries id={one.id} status={status} onChange={() => change((before) => before + 1)} /> : <Loading />}
        {one.destination.type === "webhook" && <Secret id={one.id} />}
      </div>
    </>
  );
}
