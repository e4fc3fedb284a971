/** The words of explorers, persons and figures that are opened, in English. */
export const exploreEn = {
  page_not_loaded: "This part of the page could not be loaded: the service is away, or has a new version.",
  reload: "Load again",
};
