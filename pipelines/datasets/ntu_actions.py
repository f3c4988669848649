"""Names of NTU RGB+D's actions A001 to A120, in order (from the data set's page)."""

_A001_A060 = """
drink water; eat meal; brush teeth; brush hair; drop; pick up; throw; sit down; stand up; clap;
read; write; tear up paper; put on jacket; take off jacket; put on a shoe; take off a shoe;
put on glasses; take off glasses; put on a hat or cap; take off a hat or cap; cheer up; wave a hand;
kick something; reach into pocket; hop; jump up; phone call; play with phone or tablet; type on a keyboard;
point to something; take a selfie; check time; rub two hands; nod or bow; shake head; wipe face; salute;
put palms together; cross hands in front; sneeze or cough; stagger; fall down; headache; chest pain;
back pain; neck pain; nausea or vomiting; fan self; punch or slap; kick other person; push other person;
pat on back; point finger at other person; hug; give object; touch pocket; shake hands;
walk towards each other; walk apart
"""

_A061_A120 = """
put on headphone; take off headphone; shoot at basket; bounce ball; tennis bat swing;
juggle table tennis ball; hush; flick hair; thumb up; thumb down; make OK sign; make victory sign;
staple book; count money; cut nails; cut paper; snap fingers; open bottle; sniff; squat down; toss a coin;
fold paper; ball up paper; play magic cube; apply cream on face; apply cream on hand; put on bag;
take off bag; put object into bag; take object out of bag; open a box; move heavy objects; shake fist;
throw up cap or hat; hands up; cross arms; arm circles; arm swings; run on the spot; butt kicks;
cross toe touch; side kick; yawn; stretch oneself; blow nose; hit with object; wield knife; knock over;
grab stuff; shoot with gun; step on foot; high-five; cheers and drink; carry object; take a photo; follow;
whisper; exchange things; support somebody; rock-paper-scissors
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(";"))


NTU60_ACTIONS = _names(_A001_A060)
NTU120_ACTIONS = NTU60_ACTIONS + _names(_A061_A120)
