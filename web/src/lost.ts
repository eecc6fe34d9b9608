/** Said where the worker's own script, or one that it imports, did not arrive. */
export const WORKER_LOST = "the worker's script cannot be loaded";
