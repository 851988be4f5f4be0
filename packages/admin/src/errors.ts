/** Codes that the admin API answers with beside those of the kernel. */
export type AdminErrorCode =
  /** The body or a parameter is not what the API takes; the message names it. */
  | 'REQUEST_INVALID'
  /** The body is larger than the API takes. */
  | 'REQUEST_TOO_LARGE'
  /** The body is no JSON by its content type. */
  | 'REQUEST_MEDIA_TYPE'
  /** A web page of another origin, or a name that is not this machine's, asks. */
  | 'REQUEST_ORIGIN'
  /** There is no such path. */
  | 'ROUTE_NOT_FOUND'
  /** A fault of the server; the log has it. */
  | 'INTERNAL';
