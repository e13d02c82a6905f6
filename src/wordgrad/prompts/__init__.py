"""The prompts: one Markdown file each, and one typed function that fills it."""

from wordgrad.prompts.critics import Judged, Part, Step, critic_edge, critic_node, critic_trace
from wordgrad.prompts.fitting import Limits, fitted
from wordgrad.prompts.forms import asked_again, in_words, schema_of
from wordgrad.prompts.judges import judge_pair, judge_score, judge_text
from wordgrad.prompts.render import Prompt, fence, mark, render, shortened, template_hash
from wordgrad.prompts.reply import (
    EditReply,
    NodeReply,
    ReduceReply,
    RewriteReply,
    Verdict,
    edited,
    parse_json,
    read_edits,
    read_json,
    read_marked,
    whole,
)
from wordgrad.prompts.rewrites import Asked, Record, Work, compress, indented, one_shot, reduce, repair, rewrite

__all__ = [
    "Asked",
    "EditReply",
    "Judged",
    "Limits",
    "NodeReply",
    "Part",
    "Prompt",
    "Record",
    "ReduceReply",
    "RewriteReply",
    "Step",
    "Verdict",
    "Work",
    "asked_again",
    "compress",
    "critic_edge",
    "critic_node",
    "critic_trace",
    "edited",
    "fence",
    "fitted",
    "in_words",
    "indented",
    "judge_pair",
    "judge_score",
    "judge_text",
    "mark",
    "one_shot",
    "parse_json",
    "read_edits",
    "read_json",
    "read_marked",
    "reduce",
    "render",
    "repair",
    "rewrite",
    "schema_of",
    "shortened",
    "template_hash",
    "whole",
]
