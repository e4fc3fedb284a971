/** As palavras dos exploradores, das pessoas e dos números abertos, em português. */
import type { exploreEn } from "./explore-en";

export const explorePt: Record<keyof typeof exploreEn, string> = {
  page_not_loaded: "Esta parte da página não pôde ser carregada: o serviço está fora, ou tem uma versão nova.",
  reload: "Carregar de novo",
};
